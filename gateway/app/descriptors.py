"""How many clients this process has descriptors for, each with a provider behind it."""

import resource

# For providers that are heard out, the database, the journal and whatever else is opened.
_RESERVE = 512
_RESERVE_SHARE = 4
# Where there is no limit, or one that no memory could follow.
_LIMIT_MAX = 1 << 20


def raise_limit() -> None:
    """Let this process, and those it starts, open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _LIMIT_MAX if hard == resource.RLIM_INFINITY else min(hard, _LIMIT_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def clients_max() -> int:
    """Connections of clients for which there are descriptors: two for each, behind a reserve."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _LIMIT_MAX if soft == resource.RLIM_INFINITY else min(soft, _LIMIT_MAX)
    return (limit - min(_RESERVE, limit // _RESERVE_SHARE)) // 2
