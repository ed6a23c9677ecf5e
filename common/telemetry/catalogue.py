"""All metrics. docs/observability.md has them as a table, which `make docs` generates from this module."""

from common.telemetry.metrics import CounterFamily, Gauge, HistogramFamily

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds of durations of requests and calls."""

SHORT_SECONDS = (0.0001, 0.00025, 0.0005, *SECONDS[:-2])
"""Bounds of durations of single accesses to the index and to blobs."""

# The facade
HTTP_REQUESTS = CounterFamily(
    "dicomstore_http_requests_total",
    "HTTP requests that have ended, by the template of their route; 0 as status means that the client disconnected.",
    ("route", "method", "status"),
)
HTTP_SECONDS = HistogramFamily(
    "dicomstore_http_request_duration_seconds",
    "Time from the head of an HTTP request to the end of its response; event streams are not included.",
    ("route", "method"),
    SECONDS,
)
HTTP_RESPONSE_BYTES = CounterFamily("dicomstore_http_response_bytes_total", "Bytes of response bodies.")
HTTP_IN_PROGRESS = Gauge("dicomstore_http_requests_in_progress", "HTTP requests in progress, with event streams.")
HTTP_LIMIT = Gauge("dicomstore_http_requests_limit", "Setting `max_requests`, which does not count event streams.")
HTTP_STREAMS = Gauge("dicomstore_http_event_streams", "Event streams of the worklist that are open.")

# Calls of the contract
RPC_CALLS = CounterFamily(
    "dicomstore_rpc_calls_total", "Calls of the gRPC contract that have ended, by status code.", ("rpc", "code")
)
RPC_SECONDS = HistogramFamily(
    "dicomstore_rpc_duration_seconds",
    "Duration of calls; those that watch for changes are not included.",
    ("rpc",),
    SECONDS,
)
RPC_IN_PROGRESS = Gauge(
    "dicomstore_rpc_calls_in_progress", "Calls in progress: `calls`, `watches`, or `eventChannels`.", ("kind",)
)
RPC_LIMIT = Gauge("dicomstore_rpc_calls_limit", "Settings `max_calls`, `max_watches`, `max_event_channels`.", ("kind",))

# Storing
STORED_INSTANCES = CounterFamily(
    "dicomstore_stored_instances_total",
    "Received instances by result: `stored`, `replaced`, `identical`, or `failed`.",
    ("result",),
)
STORED_BYTES = CounterFamily("dicomstore_stored_bytes_total", "Bytes of received instances that were stored.")
COMMIT_INSTANCES = HistogramFamily(
    "dicomstore_commit_instances",
    "Instances that one transaction adds to the index.",
    (),
    (1, 2, 5, 10, 20, 50, 100, 200, 500),
)
INGEST_USED = Gauge("dicomstore_ingest_memory_used_bytes", "Memory for instances on their way to disk that is in use.")
INGEST_LIMIT = Gauge("dicomstore_ingest_memory_limit_bytes", "Setting `max_ingest_bytes`.")
INGEST_WAITING = Gauge("dicomstore_ingest_uploads_waiting", "Uploads that wait for memory.")
RESPONSES = Gauge("dicomstore_responses_in_progress", "Responses with bytes of instances that are being sent.")

# Blobs and index
BLOB_SECONDS = HistogramFamily(
    "dicomstore_blob_duration_seconds",
    "Duration of accesses to the blob store: `commit` makes the bytes of an instance durable, `read` gets one piece.",
    ("operation",),
    SHORT_SECONDS,
)
BLOB_BYTES = CounterFamily(
    "dicomstore_blob_bytes_total", "Bytes `written` to the blob store or `read` from it.", ("kind",)
)
OBJECT_REQUESTS = CounterFamily(
    "dicomstore_object_requests_total",
    "Requests to object stores, by store (`s3`, `az`, `gs`), operation (`get`, `put`, `part`, `head`, `list`, `copy`, "
    "`delete`) and result: `ok`, `notFound`, `conflict` (of a conditional write), `throttled`, `full`, or `failed`.",
    ("store", "operation", "result"),
)
OBJECT_SECONDS = HistogramFamily(
    "dicomstore_object_request_duration_seconds",
    "Duration of requests to object stores. Parts of large objects are sent in the background: their requests end when "
    "the one before has been sent.",
    ("store", "operation"),
    SECONDS,
)
OBJECT_BYTES = CounterFamily(
    "dicomstore_object_bytes_total",
    "Bytes of objects that were `sent` to object stores or `received`.",
    ("store", "direction"),
)
OBJECT_RETRIES = CounterFamily(
    "dicomstore_object_retries_total",
    "Requests to object stores that were repeated, by cause: `throttled` (status 429 or 503) or `failed`. Those for "
    "lists and for parts of large objects are not included.",
    ("store", "operation", "cause"),
)
BLOB_DAMAGED = CounterFamily("dicomstore_blob_damage_total", "Reads that found missing or damaged bytes.")
INDEX_SECONDS = HistogramFamily(
    "dicomstore_index_duration_seconds",
    "Duration of transactions of the index, with their time in the queue: `read`, `search`, `write`, or `number` (of "
    "entries of the change feed).",
    ("kind",),
    SHORT_SECONDS,
)
INDEX_FAILURES = CounterFamily("dicomstore_index_failures_total", "Transactions of the index that failed.", ("kind",))
INDEX_WAITING = Gauge("dicomstore_index_transactions_waiting", "Transactions that wait for a thread.", ("kind",))

# The DIMSE gateway
DIMSE_PROCESSES = Gauge(
    "dicomstore_dimse_processes", "Gateway processes that `dicomstore up --dimse` runs, whether or not they work."
)
DIMSE_ASSOCIATIONS = Gauge(
    "dicomstore_dimse_associations",
    "Open associations, by the role of the gateway: `acceptor` or `requestor`.",
    ("role",),
)
DIMSE_ASSOCIATIONS_LIMIT = Gauge(
    "dicomstore_dimse_associations_limit", "Setting `max_associations`, for associations that peers request."
)
DIMSE_ASSOCIATION_REQUESTS = CounterFamily(
    "dicomstore_dimse_association_requests_total",
    "Requests for associations, by the role of the gateway and the result: `ACCEPTED`, or the problem (docs/dimse.md).",
    ("role", "result"),
)
DIMSE_REQUESTS = CounterFamily(
    "dicomstore_dimse_requests_total",
    "Requests of peers that have ended, by DIMSE service (`C-STORE`) and class of the final status (PS3.7 Annex C): "
    "`success`, `warning`, `failure`, `cancel`; `lost` if the association ended before.",
    ("service", "status"),
)
DIMSE_SECONDS = HistogramFamily(
    "dicomstore_dimse_request_duration_seconds",
    "Time from the command of a request to its final response, by DIMSE service.",
    ("service",),
    SECONDS,
)
DIMSE_INSTANCES = CounterFamily(
    "dicomstore_dimse_instances_total",
    "Instances in C-STORE requests: `received` and passed on to the core, or `sent` and answered by the peer.",
    ("direction",),
)
DIMSE_BYTES = CounterFamily(
    "dicomstore_dimse_instance_bytes_total", "Bytes of these instances as files.", ("direction",)
)
DIMSE_SUBOPERATIONS = CounterFamily(
    "dicomstore_dimse_suboperations_total",
    "Instances that a `C-MOVE`, `C-GET` or transfer (`send`) sent, by result: `completed`, `warning`, or `failed`.",
    ("service", "result"),
)
DIMSE_TRANSFERS = CounterFamily(
    "dicomstore_dimse_transfer_attempts_total",
    "Attempts of transfers that have ended, by work (`pull`, `send`, `notification`, `commitment_report`) and result: "
    "`succeeded`, `failed`, or `stopped` (cancelled, or continued by another process).",
    ("work", "result"),
)
DIMSE_TRANSFER_SECONDS = HistogramFamily(
    "dicomstore_dimse_transfer_attempt_duration_seconds",
    "Duration of attempts of transfers, by work.",
    ("work",),
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
)

# Pixel workers
PIXEL_SECONDS = HistogramFamily(
    "dicomstore_pixel_job_duration_seconds",
    "Duration of jobs of pixel workers with their time in the queue, by type of job.",
    ("job",),
    SECONDS,
)
PIXEL_FAILURES = CounterFamily("dicomstore_pixel_job_failures_total", "Jobs of pixel workers that failed.", ("job",))
PIXEL_WAITING = Gauge("dicomstore_pixel_jobs_waiting", "Jobs that wait for a pixel worker.")
PIXEL_WORKERS = Gauge("dicomstore_pixel_workers", "Pixel workers that have been started.")
PIXEL_WORKERS_LIMIT = Gauge("dicomstore_pixel_workers_limit", "Most pixel workers of the process.")

# Caches
CACHE_REQUESTS = CounterFamily(
    "dicomstore_cache_requests_total", "Requests of caches, by result: `hit` or `miss`.", ("cache", "result")
)
CACHE_BYTES = Gauge("dicomstore_cache_bytes", "Memory that a cache takes.", ("cache",))
CACHE_LIMIT = Gauge("dicomstore_cache_limit_bytes", "Most memory that a cache takes.", ("cache",))

# The archive
CHANGE_FEED_SEQUENCE = Gauge(
    "dicomstore_change_feed_latest_sequence", "The latest sequence of the change feed.", of_archive=True
)
CHANGE_FEED_LAG = Gauge(
    "dicomstore_change_feed_consumer_lag_entries",
    "Entries of the change feed that the slowest registered consumer has not processed.",
    of_archive=True,
)
CHANGE_FEED_CONSUMERS = Gauge(
    "dicomstore_change_feed_consumers", "Registered consumers of the change feed.", of_archive=True
)
CHANGE_FEED_SECONDS = HistogramFamily(
    "dicomstore_change_feed_round_duration_seconds",
    "Duration of rounds that make committed changes visible in the change feed.",
    (),
    SHORT_SECONDS,
)
WEBHOOK_EVENTS = Gauge(
    "dicomstore_webhook_events",
    "Events of webhooks by state: `waiting` to be sent again, or `dead`.",
    ("state",),
    of_archive=True,
)
TRANSFERS = Gauge(
    "dicomstore_transfers",
    "Transfers by state: `waiting` for the first or another attempt, `running`, or `failed` and not retried.",
    ("state",),
    of_archive=True,
)
OPERATIONS = Gauge(
    "dicomstore_operations", "Operations that have not ended, by type and state.", ("type", "state"), of_archive=True
)
OPERATION_AGE = Gauge(
    "dicomstore_operation_idle_seconds",
    "Longest time since the last progress of an operation that has not ended and is not paused.",
    of_archive=True,
)
OPERATION_STEPS = CounterFamily(
    "dicomstore_operation_steps_total",
    "Parts of steps of operations that have been run, by result: `done`, `failed`, or `repeated`.",
    ("type", "result"),
)
OPERATION_SECONDS = HistogramFamily(
    "dicomstore_operation_step_duration_seconds", "Duration of parts of steps of operations.", ("type",), SECONDS
)
DISK_FREE = Gauge(
    "dicomstore_disk_free_bytes",
    "Free space, at the data directory (`data`) and at the blobs (`blobs`; not of object stores).",
    ("place",),
    of_archive=True,
)
DISK_SIZE = Gauge(
    "dicomstore_disk_size_bytes", "Size of the file system of the data directory.", ("place",), of_archive=True
)
COMPONENT_HEALTHY = Gauge(
    "dicomstore_component_healthy", "1 if a component works, otherwise 0; see the health check.", ("component",)
)
METRICS_FAILURES = CounterFamily(
    "dicomstore_metrics_failures_total", "Values of the archive that could not be read for the metrics.", ("value",)
)

# Processes
PROCESS_INFO = Gauge("dicomstore_process_info", "1, for each process, with its version.", ("version",))
PROCESS_START = Gauge("dicomstore_process_start_time_seconds", "Start of the process, in seconds since 1970.")
PROCESS_CPU = CounterFamily("dicomstore_process_cpu_seconds_total", "CPU time of the process without its children.")
PROCESS_MEMORY = Gauge("dicomstore_process_resident_memory_bytes", "Memory of the process.")
PROCESS_FILES = Gauge("dicomstore_process_open_files", "Open file descriptors of the process.")
PROCESS_FILES_LIMIT = Gauge("dicomstore_process_open_files_limit", "Most file descriptors that the process may open.")
PROCESS_THREADS = Gauge("dicomstore_process_threads", "Threads of the process.")
CHILDREN = Gauge("dicomstore_process_children", "Child processes: pixel workers.")
CHILDREN_CPU = CounterFamily("dicomstore_process_children_cpu_seconds_total", "CPU time of child processes.")
CHILDREN_MEMORY = Gauge("dicomstore_process_children_resident_memory_bytes", "Memory of child processes.")
LOG_RECORDS = CounterFamily("dicomstore_log_records_total", "Warnings and errors in the log.", ("level",))
