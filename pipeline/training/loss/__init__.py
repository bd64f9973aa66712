"""The CTC loss, its regularisers, and the reference loss."""
