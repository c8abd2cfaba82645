"""Problems of requests and jobs, and the service's own trouble."""

from service.problems.kinds import kind

REQUEST_KINDS = (
    kind(
        "bad-request", 400, "The request is malformed",
        "Headers, host, length or body break the rules of HTTP.", "Correct the request.",
    ),
    kind(
        "invalid-json", 400, "The JSON cannot be read",
        "It has a syntax error, is nested too deeply, or holds a number that is too long.",
        "Correct the JSON.",
    ),
    kind(
        "body-incomplete", 400, "The body ends early",
        "The connection ended, or the form's closing boundary is missing.",
        "Send the request again.", retryable=True,
    ),
    kind(
        "idempotency-key-invalid", 400, "The Idempotency-Key cannot be used",
        "It must have 1 to 255 printable ASCII characters.", "Use a fresh UUID.",
    ),
    kind(
        "unauthenticated", 401, "A valid key is needed",
        "The key is missing, unknown, expired or revoked.",
        "Send `Authorization: Bearer sct_...`; the first start of the service prints a key.",
    ),
    kind(
        "forbidden", 403, "The key does not allow this",
        "The key lacks the scope that this route needs.", "Use a key with that scope.",
    ),
    kind(
        "not-found", 404, "There is nothing here",
        "The id does not exist, is malformed, or is another owner's.", "Check the id.",
    ),
    kind(
        "method-not-allowed", 405, "The method is not allowed here",
        "The Allow header lists those that are.", "Use one of them.",
    ),
    kind(
        "not-acceptable", 406, "No representation fits the Accept header",
        "The route cannot answer in a media type that the request accepts.",
        "Accept application/json.",
    ),
    kind(
        "upload-timeout", 408, "The upload was too slow",
        "The body stalled, or arrived more slowly than the lowest rate.",
        "Send it again over a better connection.", retryable=True,
    ),
    kind(
        "job-not-finished", 409, "The job has not finished",
        "Its files can be downloaded once its status is succeeded.",
        "Poll the job, or follow its events.", retryable=True,
    ),
    kind(
        "job-already-finished", 409, "The job has already finished",
        "A finished job never changes.", "Submit a new job.",
    ),
    kind(
        "resource-in-use", 409, "The resource is in use",
        "A job that has not finished cannot be deleted.", "Cancel the job and wait for its end.",
    ),
    kind(
        "idempotency-key-in-progress", 409, "The first request with this key is still running",
        "Two requests with the same Idempotency-Key arrived at the same time.",
        "Wait for the time in Retry-After and send it again.", retryable=True,
    ),
    kind(
        "gone", 410, "The file is no longer kept",
        "It was deleted or has expired.", "Run the job again.",
    ),
    kind(
        "body-too-large", 413, "The body is too large",
        "The request body exceeds the limit of this route.", "Send less.",
    ),
    kind(
        "unsupported-media-type", 415, "The Content-Type is not supported",
        "The route does not read this kind of body.",
        "Send multipart/form-data, for example with curl -F.",
    ),
    kind(
        "range-not-satisfiable", 416, "The range is outside of the file",
        "The first byte asked for does not exist.", "Ask for a range inside of the file.",
    ),
    kind(
        "invalid-request", 422, "A value is not valid",
        "`param` names it; `limit` and `actual` say more where they apply.", "Correct the value.",
    ),
    kind(
        "target-unreachable", 422, "The target cannot be reached",
        "No valid selection of groups leaves as little as the target asks for.",
        "Raise the target to what the message says can be reached.",
    ),
    kind(
        "idempotency-key-reused", 422, "The Idempotency-Key belongs to another request",
        "The key was used before, with a different body.", "Use a fresh key for a new request.",
    ),
    kind(
        "solution-invalid", 422, "The solution does not fit the search space",
        "It names unknown groups or units, or would break the network.",
        "Solve again on the same model.",
    ),
    kind(
        "rate-limited", 429, "Too many requests",
        "The key sends more requests than allowed.", "Wait for the time in Retry-After.",
        retryable=True,
    ),
    kind(
        "quota-exceeded", 429, "The quota is used up",
        "The owner has too many jobs or stores too much.", "Delete old jobs or wait.",
        retryable=True,
    ),
    kind(
        "internal", 500, "The service made a mistake",
        "An error of the service's own; its log has the details under the request id.",
        "Try again later; report the request id if it happens twice.", retryable=True,
    ),
    kind(
        "artifact-corrupt", 500, "The stored file is damaged",
        "Its SHA-256 no longer matches the published one, so it was not sent.",
        "Run the job again; tell the operator.",
    ),
    kind(
        "unavailable", 503, "The service is busy",
        "The database is locked or unreachable, or the service is shutting down.",
        "Wait for the time in Retry-After and try again.", retryable=True,
    ),
    kind(
        "storage-unavailable", 503, "The artifact store is not available",
        "Files can be neither read nor written at the moment.", "Try again later.", retryable=True,
    ),
    kind(
        "insufficient-storage", 507, "The disk is full",
        "The service has too little free space for this request or job.",
        "Delete old jobs, or tell the operator.", retryable=True,
    ),
    kind(
        "worker-lost", None, "The worker was lost",
        "The process that ran the job died on every attempt.", "Submit the job again.",
        retryable=True,
    ),
    kind(
        "worker-stalled", None, "The worker stopped making progress",
        "No sign of life for longer than the stall timeout, on every attempt.",
        "Submit the job again.", retryable=True,
    ),
    kind(
        "out-of-memory", None, "The job ran out of memory",
        "Smaller batches did not help.", "Reduce batch_size or use a larger machine.",
    ),
    kind(
        "sandbox-unavailable", 503, "The service cannot check models safely",
        "Its operator requires isolation that this machine's kernel does not have.",
        "Tell the operator: SECATEUR_REQUIRE_SANDBOX is set, and Landlock or seccomp is missing.",
    ),
    kind(
        "training-diverged", None, "The training diverged",
        "The loss became NaN or infinite, also with smaller learning rates.", "Reduce lr.",
    ),
    kind(
        "process-lost", None, "A process of the training was lost",
        "Several processes trained together; one of them has ended or does not answer.",
        "Look at what the lost process printed, and run the job again.", retryable=True,
    ),
    kind(
        "processes-disagree", None, "The processes of the training disagree",
        "They did not hold the same weights or did not choose the same units.",
        "Give all of them the same model, data, settings, versions and kind of device.",
    ),
    kind(
        "quality-gate-failed", None, "The compressed model is not good enough",
        "Its accuracy dropped by more than max_accuracy_drop, so it was not published.",
        "Train longer, or ask for a less small model.",
    ),
    kind(
        "verification-failed", None, "The proof failed",
        "The cut model does not compute what the trained one does, so it was not published.",
        "Report the job; this is a fault of the product.",
    ),
    kind(
        "deadline-exceeded", None, "The job ran too long",
        "It was stopped at the maximum run time.", "Use fewer epochs or a smaller data set.",
    ),
    kind(
        "checkpoint-incompatible", None, "No checkpoint can be used",
        "All checkpoints were written by another version.", "Submit the job again.",
        retryable=True,
    ),
    kind(
        "cancelled", None, "The job was cancelled",
        "Somebody asked for it.", "Submit it again if that was a mistake.",
    ),
)  # fmt: skip
