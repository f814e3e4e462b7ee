"""The receive path beside DCMTK storescp, Orthanc and pynetdicom: ``python -m benchmarks.receive``; docs/receive-benchmark.md."""
