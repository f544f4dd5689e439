"""One call for a caption: its time limit, its cancellation and the events that it reports."""
