"""Prediction over the wire: a gRPC server around any predictor, and a client that is a predictor itself.

Values and their messages (``*_wire``), the queue between callers and the model (``batching``), the server (``server``,
``process``) and the client (``replicas``, ``remote_predictor``, ``remote_powers``) are apart.
"""
