"""Problems of the data set: its address (found at once) and its content (found by the job)."""

from service.problems.kinds import kind

_REPAIR = "Repair the data set and submit the job again."

DATASET_KINDS = (
    kind(
        "dataset-scheme", 422, "The data set address has an unsupported scheme",
        "Only the schemes named in the message can be read.", "Use one of the named schemes.",
    ),
    kind(
        "dataset-uri-forbidden", 422, "The data set address may not be read",
        "Files outside of the allowed folders and private network addresses are refused.",
        "Move the data below an allowed folder (SECATEUR_DATASET_ROOTS), or to a public address.",
    ),
    kind(
        "dataset-uri-credentials", 422, "The data set address contains a password",
        "Addresses end up in logs, so user:password@ is refused.",
        "Use an address that needs no password, such as a signed URL.",
    ),
    kind(
        "dataset-unavailable", None, "The data set could not be fetched",
        "The host is unknown, refused the connection, or kept answering with errors.",
        "Check the address and submit the job again.", retryable=True,
    ),
    kind(
        "dataset-http-status", None, "The data set's host refused the request",
        "The host answered with 401, 403, 404 or 410.", "Check the address and its permissions.",
    ),
    kind(
        "dataset-timeout", None, "Fetching the data set took too long",
        "The transfer did not finish before its deadline.",
        "Put the data on a faster host.", retryable=True,
    ),
    kind(
        "dataset-truncated", None, "The data set ends early",
        "Fewer bytes arrived than were announced.",
        "Submit the job again; check the file if it happens twice.", retryable=True,
    ),
    kind(
        "dataset-too-large", None, "The data set is larger than the limit",
        "Its size, declared or counted, exceeds the limit.", "Use fewer samples.",
    ),
    kind(
        "dataset-decompression-limit", None, "The data set unpacks to too much",
        "The compression ratio is that of a decompression bomb.", "Store the data less compressed.",
    ),
    kind(
        "dataset-format", None, "The data set's format was not recognised",
        "The content is not in a supported format, or broken.",
        "Save it with numpy.savez: x_train, y_train and, if there are any, x_test, y_test.",
    ),
    kind(
        "dataset-pickle", None, "The data set contains pickled objects",
        "Pickled objects run code when read, so they never are.",
        "Save plain arrays (no dtype=object).",
    ),
    kind(
        "dataset-archive-member", None, "The archive has a forbidden member",
        "Links, devices and paths that leave the archive are refused.", _REPAIR,
    ),
    kind(
        "dataset-archive-limit", None, "The archive has too many members",
        "The number of files, or the nesting, exceeds the limit.", _REPAIR,
    ),
    kind(
        "dataset-image", None, "An image cannot be used",
        "It is broken or has too many pixels.", _REPAIR,
    ),
    kind(
        "dataset-too-small", None, "The data set has too few samples",
        "It is empty, or smaller than one batch.", "Add samples or reduce batch_size.",
    ),
    kind(
        "dataset-one-class", None, "All samples have the same label",
        "Accuracy means nothing with a single class.", _REPAIR,
    ),
    kind(
        "dataset-shape-mismatch", None, "The samples do not fit the model's input",
        "The message names the shape that was expected and the one found.", _REPAIR,
    ),
    kind(
        "dataset-dtype", None, "The samples have an unusable type",
        "The values cannot be cast to the type of the model's input.", _REPAIR,
    ),
    kind(
        "dataset-range", None, "The values have a suspicious range",
        "For example 0..255 where the model was trained on 0..1.",
        "Scale the data as it was scaled when the model was trained.",
    ),
    kind(
        "dataset-labels", None, "The labels cannot be used",
        "Labels are missing, fractional, negative, or at least the number of classes.", _REPAIR,
    ),
    kind(
        "dataset-non-finite", None, "The data contains NaN or infinity",
        "The message names the array and the first row.", _REPAIR,
    ),
    kind(
        "dataset-columns", None, "A column is missing",
        "The table lacks a column that the job names.", _REPAIR,
    ),
    kind(
        "dataset-csv", None, "The CSV file cannot be read",
        "Rows have different lengths, a field is too long, or there are NUL bytes.", _REPAIR,
    ),
    kind(
        "dataset-changed", None, "The data set changed between attempts",
        "A second attempt must train on the same bytes as the first.",
        "Submit a new job on the new data.",
    ),
)  # fmt: skip
