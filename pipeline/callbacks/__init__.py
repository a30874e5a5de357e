"""What happens beside the steps of a training: composable Keras callbacks, one idea each.

Their order in ``fit(callbacks=...)`` matters: ``StopOnNan``, ``Averaging``, ``Validation``, ``BestModel``; then those
that act on the validation figures (``EarlyStopping``, ``StopAtTarget``, ``ReduceOnPlateau``); then those that only
write down (``CsvHistory``, ``TensorBoardLog``, ``MlflowLog``, ``Progress``); and ``Backup`` last: it keeps the state
of all of them.

This module imports nothing; ``quality``, ``state``, ``storage`` and ``history_file`` import no TensorFlow.
"""
