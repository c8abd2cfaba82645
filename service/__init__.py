"""The service: REST API, jobs, worker, data sets, command line and client.

Nothing is imported here: the web process, the worker and the sandboxed child each load only the
modules that they need.
"""
