"""`m2v data`: prepare, export, verify and list stores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from m2v_lib.cli.options import pair
from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.limits import MAX_MESSAGE


def add(commands: Any) -> None:
    data = commands.add_parser(
        "data", help="prepare data sets, list what is prepared"
    ).add_subparsers(required=True)
    prepare = data.add_parser("prepare", help="make a store from a data set's published files")
    prepare.add_argument(
        "name",
        help="kind of data (synthetic, mocap, h36m, mpi_inf_3dhp, ntu60, keypoints) or a name of your own",
    )
    prepare.add_argument(
        "--source",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="its files or folders; their layout is "
        "found by content (default: the known names under $M2V_DATA)",
    )
    prepare.add_argument("--name", dest="store_name", help="name of the store, if not NAME")
    prepare.add_argument(
        "--test-subjects", nargs="+", metavar="SUBJECT", help="who tests, in motion capture"
    )
    prepare.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the kind of data, such as scale=released",
    )
    prepare.set_defaults(command=_data_prepare)
    export = data.add_parser(
        "export", help="write a store in the layout its data set is published in"
    )
    export.add_argument("store", help="name of a prepared store")
    export.add_argument(
        "--as", dest="form", required=True, help="h36m-sh, h36m-npz, h36m-clips, 3dhp or ntu60"
    )
    export.add_argument("-o", dest="out", type=Path, required=True, metavar="FOLDER")
    export.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    export.set_defaults(command=_data_export)
    data.add_parser("list", help="prepared stores").set_defaults(command=_data_list)
    verify = data.add_parser("verify", help="compare a store's contents with its fingerprint")
    verify.add_argument("store", help="name of a prepared store")
    verify.set_defaults(command=_data_verify)


def _data_prepare(args: argparse.Namespace) -> int:
    from m2v_lib.data import prepare
    from m2v_lib.data.sources.readers import READERS

    options = {"test_subjects": args.test_subjects, **dict(pair(text) for text in args.settings)}
    kind = args.name if args.name in READERS else None
    print(prepare(args.store_name or args.name, kind=kind, source=args.source, **options))
    return 0


def _data_export(args: argparse.Namespace) -> int:
    from m2v_lib.data.export import export_to_new_folder

    options = dict(pair(text) for text in args.settings)
    for path in export_to_new_folder(args.store, args.form, args.out, **options):
        print(path)
    return 0


def _data_verify(args: argparse.Namespace) -> int:
    from m2v_lib.data import verify_store

    print(verify_store(args.store))
    return 0


def _data_list(args: argparse.Namespace) -> int:
    from m2v_lib.data.store import default_root, list_stores
    from m2v_lib.data.store.action_store import list_action_stores

    damaged = list[DataError]()
    stores, actions = list_stores(None, damaged.append), list_action_stores(None, damaged.append)
    found: list[tuple[Any, str]] = [(store.meta, f"{store.meta.fps:g} fps") for store in stores]
    found += [(store.meta, "actions") for store in actions]
    for meta, what in found:
        print(f"{meta.name:16} {meta.protocol:24} {what}  {meta.fingerprint[:12]}")

    for error in damaged:
        print(f"m2v: {printable(str(error), MAX_MESSAGE)}", file=sys.stderr)
    if not found and not damaged:
        print(f"no store under {default_root()}; make one with `m2v data prepare synthetic`")
    return 2 if damaged else 0
