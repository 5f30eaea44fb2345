"""The inspection service: exported models behind HTTP, every verdict on disk before it is answered.

Needs the extra ``serve``; nothing that trains is loaded.
"""
