"""A process with gRPC connections starts other programs without losing any of them."""

from __future__ import annotations

import subprocess
import sys

CHILDREN = 100
PROGRAM = f"""
import gnn_model.service
import subprocess
from concurrent.futures import ThreadPoolExecutor
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

server = grpc.server(ThreadPoolExecutor(2))
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{{port}}")
health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
for _ in range({CHILDREN}):
    # a function to call in the child makes Python fork, as the testbed and the supervisor do to bind lives together
    print(subprocess.run(["/bin/true"], preexec_fn=lambda: None, timeout=30).returncode)
channel.close()
server.stop(0).wait(10)
"""


def test_programs_started_beside_open_connections_all_run() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"] * CHILDREN
    assert done.stderr == ""
