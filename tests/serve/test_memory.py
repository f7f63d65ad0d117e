"""What a worker holds before it has carried anything."""

import sys
from subprocess import run


def test_a_worker_loads_no_library_that_it_does_not_need():
    """What each of these weighs, every worker would hold."""
    heavy = ("aiohttp", "phonenumbers", "pydantic", "rich", "sqlalchemy", "stdnum", "typer")
    program = (
        "import sys; sys.modules['rich'] = None; import gateway.serve.service; "
        f"print(*(name for name in {heavy!r} if sys.modules.get(name)))"
    )
    done = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
