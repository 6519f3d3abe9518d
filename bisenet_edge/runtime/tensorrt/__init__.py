"""TensorRT 8.5 to 11 with one code path: build an engine on the device, keep it, read it back, run it.

    api        what this TensorRT is: version, typing, log
    builder    ONNX -> plan (bytes)
    failures   what the builder's log means and what to do
    store      engines on disk: keyed, checksummed, replaced atomically
    readback   layers by precision, reformats, memory: what the builder really made
    engine     plan -> masks, two frames in flight
    compile    all of it for an artifact, with the self-test and "INT8 must pay"
    compiled   what became of its engines

`import tensorrt` stands in `api` alone; everything else is given the module.
"""
