"""The live view: a small web server beside the loop, and the page that captures photos.

Nothing of it is imported unless ``--web`` is given: Starlette and uvicorn are in the extra ``board``.
"""
