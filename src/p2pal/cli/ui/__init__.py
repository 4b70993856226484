"""What a person sees and is asked: views of a transfer, bars, plain lines, tables, prompts; and ``--json``."""
