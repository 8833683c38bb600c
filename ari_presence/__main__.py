"""Entry point of `ari-presence` and of `python -m ari_presence`."""


def main() -> None:
    """Run the command line."""
    from ari_presence.cli.main import app

    app(prog_name="ari-presence")


if __name__ == "__main__":
    main()
