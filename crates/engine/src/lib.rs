//! flowstone's engine: graph, workers, delivery, drain, reload.
