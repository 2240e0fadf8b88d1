"""Commands on another host: what ssh is given, and how the answer is told from other output.

The remote command line is a constant, whatever the login shell there makes of it. The request
travels by standard input as a script for `/bin/sh`; the answer stands between random marks, since
start-up files print; and the script says how its command ended, since ssh's own exit status cannot
tell that from trouble with the connection.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from batchwright.errors import ConfigError, SchedulerError

HERE: Final = ("localhost", "127.0.0.1", "::1", "")
_HOST: Final = re.compile(r"[A-Za-z0-9_.:@-]+")
_SHELL: Final = ("/bin/sh", "-s")


def is_here(nodename: str) -> bool:
    """Whether a name means this machine."""
    return nodename in HERE


def check_host(nodename: str) -> str:
    """Refuse what ssh could take for an option, or a shell for a command."""
    if nodename.startswith("-") or not _HOST.fullmatch(nodename):
        raise ConfigError(f"{nodename!r} is no name of a host: give letters, digits and `_.:@-`")
    return nodename


def ssh_command(nodename: str) -> tuple[str, ...]:
    """Give the command that opens a shell on a host."""
    options = ("-q", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
    return ("ssh", *options, "--", check_host(nodename), *_SHELL)


def fresh_mark() -> str:
    """Give a word that no output holds by accident."""
    return f"bw{secrets.token_hex(16)}"


def request(
    words: Sequence[str], stdin: str | None, environment: Mapping[str, str], mark: str
) -> str:
    r"""Give the script that runs a command between marks.

    Examples
    --------
    >>> print(request(["squeue", "--me"], None, {}, "bwX"))
    printf '\n%s\n' bwX
    squeue --me </dev/null
    code=$?
    printf '\n%s %s\n' bwX "$code"
    exit 0
    <BLANKLINE>
    """
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines.append(f"printf '\\n%s\\n' {mark}")
    command = shlex.join(words)
    if stdin is None:
        lines.append(f"{command} </dev/null")
    else:
        lines += [f"{command} <<'{mark}'", stdin.removesuffix("\n"), mark]
    lines += ["code=$?", f"printf '\\n%s %s\\n' {mark} \"$code\"", "exit 0", ""]
    return "\n".join(lines)


def answer(output: str, mark: str) -> tuple[int, str] | None:
    r"""Give exit code and output of the command; None if the answer is not whole.

    Examples
    --------
    >>> answer("welcome\n\nbwX\n17\n\nbwX 0\n", "bwX")
    (0, '17\n')
    >>> answer("welcome\n\nbwX\n17\n", "bwX") is None
    True
    """
    found = re.search(rf"\n{mark}\n(.*)\n{mark} (\d+)\n", output, re.DOTALL)
    return None if found is None else (int(found[2]), found[1])


def failed(nodename: str, code: int, said: str) -> SchedulerError:
    """Give the error for an answer that did not come."""
    return SchedulerError(
        f"`{nodename}` gave no answer by ssh (exit code {code}): {said.strip() or 'silence'}; try "
        f"`ssh -o BatchMode=yes {nodename} true`"
    )
