"""Prediction over the wire: a gRPC server around any predictor, and a client that is a predictor itself.

Values and their messages (``*_wire``), the queue between callers and the model (``batching``), the server (``server``,
``process``) and the client (``replicas``, ``remote_predictor``, ``remote_powers``) are apart.
"""

import os

# Before grpc is imported anywhere: in a child that is forked to run another program, gRPC's own handlers start threads
# again, and those abort one child in ten when its files are closed before that program begins.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
