"""The rating page of a run: ``tokengym assess runs/mine``, beside the run or after it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from jsonargparse import Namespace
from rich.console import Console

from ..agents.checkpoint import write_atomically
from ..rewards import Assessors
from ..rewards.assessors.inquiry import FILES, StoreInquiry
from ..rewards.assessors.ratings import write_ratings
from .commands import task_of_run
from .run_folder import RunError, RunFolder, check_place


def assess(options: Namespace, console: Console) -> None:
    """Open the page on which people rate what a run writes, and print a link for each of them.

    The run's reward holds assessors: `0.5 * conv_discriminator + 0.5 * assessors(question='Which
    is easier to make?')`. The run may go on meanwhile, in another terminal; what is rated reaches
    it in its next update. Ctrl-C closes the page; every answer that was given is in the store.

      tokengym assess runs/mine --assessors anna,ben
      tokengym assess runs/mine --assessors anna --host 192.168.1.5 --port 8000
      tokengym assess runs/mine --revoke ben
      tokengym assess runs/mine --export ratings.csv

    A link is a key: whoever has it rates in that name. Asked for again, another link takes its
    place. The page is served on this machine alone unless --host names another address of it.
    """
    check_place(options.export)
    inquiry = _inquiry(options.run, options.component)
    store, question = inquiry.store, inquiry.id
    if options.revoke is not None:
        store.revoke(options.revoke)
        console.print(f"{options.revoke} cannot rate any more; their ratings stay")
    elif options.export is not None:
        _export(inquiry, options.export, console)
    else:
        _serve(inquiry, options, console)
        rated = len(store.ratings(question))
        console.print(f"{rated} ratings in {store.name}", soft_wrap=True)
    inquiry.close()


def _inquiry(run: Path, component: str | None) -> StoreInquiry:
    """The question that a run's assessors are asked.

    Raises:
        RunError: its reward has no assessors, or several; or they are read from a file.
    """
    task = task_of_run(RunFolder(run))
    task.reward.adopt_folder(run)
    named = task.reward.named()
    known = {name: each for name, each in named.items() if isinstance(each, Assessors)}
    alone = component is None and len(known) == 1
    chosen = next(iter(known.values())) if alone else known.get(component or "")
    if chosen is None:
        raise RunError(
            f"the reward of {run} has the assessors {', '.join(known)}; name one with --component"
            if known
            else f"the reward of {run}, {task.reward.name!r}, has no assessors; train with one "
            "such as 0.5 * conv_discriminator + 0.5 * assessors(question='Which is nicer?')"
        )
    assert chosen.store is not None
    assert chosen.domain is not None
    if Path(chosen.store).suffix in FILES:
        raise RunError(
            f"the ratings of {run} come from {chosen.store}, which others write; for a page train "
            "with store='sqlite:///ratings.sqlite', or without a store"
        )
    return StoreInquiry(chosen.store, chosen.question, chosen.form, chosen.domain)


def _export(inquiry: StoreInquiry, path: Path, console: Console) -> None:
    """Write all ratings that stand."""
    if path.suffix not in FILES:
        raise RunError(f"--export is {str(path)!r}; expected a file .csv or .jsonl")
    ratings = inquiry.ratings()
    write_atomically(path, write_ratings(ratings, path.suffix.removeprefix(".")).encode())
    console.print(f"{len(ratings)} ratings in {path}", soft_wrap=True)


def _serve(inquiry: StoreInquiry, options: Namespace, console: Console) -> None:
    """Print the links and serve until it is stopped."""
    from ..rewards.assessors.access import check_name, new_token
    from ..rewards.assessors.server import make_app
    from ..rewards.assessors.serving import listen, serve

    names = [name.strip() for name in options.assessors.split(",") if name.strip()]
    if not names:
        raise RunError("--assessors names nobody; expected names such as anna,ben")
    for name in names:
        check_name(name)  # all, before one of them gets a link
    owner, store = new_token(), inquiry.store
    app = make_app(store, inquiry.id, owner_token=owner, host=options.host)
    listening = listen(options.host, options.port)
    host = socket.gethostname() if options.host in ("0.0.0.0", "::") else options.host
    host = f"[{host}]" if ":" in host else host
    place = f"http://{host}:{listening.getsockname()[1]}"
    for name in names:
        console.print(f"{name:12} {place}/#{store.add_assessor(name)}", soft_wrap=True)
    console.print(f"{'overview':12} {place}/overview#{owner}", soft_wrap=True)
    console.print(
        f"{inquiry.waiting()} questions are waiting in {store.name}. Ctrl-C closes the page; a "
        "link is a key, and those printed before for these names do not open it any more",
        soft_wrap=True,
    )
    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises again once it has ended
        serve(app, listening)
