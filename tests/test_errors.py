"""Every error is the OSError that asyncio users catch, and crosses processes whole."""

import errno
import inspect
import pickle

import pytest

from utcp import errors

CAUSES: dict[type[OSError], tuple[type[OSError], int]] = {
    errors.ConnectionRefused: (ConnectionRefusedError, errno.ECONNREFUSED),
    errors.ConnectionReset: (ConnectionResetError, errno.ECONNRESET),
    errors.ConnectionAborted: (ConnectionAbortedError, errno.ECONNABORTED),
    errors.ConnectionTimedOut: (TimeoutError, errno.ETIMEDOUT),
    errors.SynTimedOut: (TimeoutError, errno.ETIMEDOUT),
    errors.RetransmissionTimedOut: (TimeoutError, errno.ETIMEDOUT),
    errors.FinTimedOut: (TimeoutError, errno.ETIMEDOUT),
    errors.UserTimedOut: (TimeoutError, errno.ETIMEDOUT),
    errors.KeepaliveTimedOut: (TimeoutError, errno.ETIMEDOUT),
    errors.LingerTimedOut: (TimeoutError, errno.ETIMEDOUT),
}

EXAMPLES = [
    *(cause() for cause in CAUSES),
    errors.ConnectionRefused("Connect call failed ('127.0.0.1', 9)"),
    errors.PathUnreachable(errno.ENETUNREACH),
    errors.AddressInUse("port 9 is in TIME_WAIT", 1.5),
    errors.AddressNotAvailable("no port is left"),
    errors.LimitReached("max_connections"),
    errors.InvalidState("cannot send"),
]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_is_the_error_that_asyncio_users_catch(cause: type[OSError]) -> None:
    builtin, code = CAUSES[cause]
    assert isinstance(cause(), builtin)
    assert cause().errno == code
    assert str(code) in str(cause())


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_survives_pickling(error: OSError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is type(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


def test_no_error_is_left_out() -> None:
    public = {
        value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, OSError) and not name.startswith("_")
    }
    assert {type(error) for error in EXAMPLES} == public
