"""
Tell which script a request is for, by its path.
"""

ROOT = "/srv/www"


def variables(request):
    path = request.variables[b"PATH_INFO"]
    return {
        "DOCUMENT_ROOT": ROOT,
        "SCRIPT_NAME": path,
        "SCRIPT_FILENAME": ROOT.encode() + path,
        "PATH_INFO": None,
    }
