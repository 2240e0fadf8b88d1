# Rscript batchtools.R STEP N FOLDER: one step in one process, so that peak memory is its own.
# Prints one JSON line a figure, named as ours are. Steps build on the folder of earlier ones.
suppressPackageStartupMessages({library(batchtools); library(data.table)})
options(batchtools.progress = FALSE, batchtools.verbose = FALSE, scipen = 30)
args = commandArgs(TRUE)
step = args[1]; n = as.integer(as.numeric(args[2])); folder = args[3]
n.chunks = 100L
registry = function(name) file.path(folder, name)

cpu = function() { p = proc.time(); sum(p[c(1, 2, 4, 5)], na.rm = TRUE) }
peak = function() {
  line = grep("^VmHWM", readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) * 1024 / 1e6
}
disk = function(dir) {
  command = paste("find", shQuote(dir), "-type f -printf '%b\\n'")
  blocks = as.numeric(system(command, intern = TRUE))
  c(length(blocks), sum(blocks) * 512 / 1e6)
}
# Measures an expression, which is evaluated here and not before.
measure = function(what, expr, dir = NULL, count = n) {
  before = cpu(); start = Sys.time()
  value = force(expr)
  wall = as.numeric(difftime(Sys.time(), start, units = "secs"))
  used = cpu() - before
  on.disk = if (is.null(dir)) c(0, 0) else disk(dir)
  cat(sprintf(paste0('{"what":"%s","n":%d,"wall":%.6f,"cpu":%.4f,"peak_mb":%.1f,',
                     '"files":%.0f,"disk_mb":%.3f}\n'),
              what, count, wall, used, peak(), on.disk[1], on.disk[2]))
  flush(stdout())
  invisible(value)
}

job = function(x, k) list(x = 2 * x)
fresh = function(name) {
  unlink(registry(name), recursive = TRUE)
  makeRegistry(registry(name), seed = 1, conf.file = NA)
}
define = function(reg, size = n) batchMap(job, x = seq_len(size), k = numeric(size), reg = reg)
load = function(name) loadRegistry(registry(name), writeable = FALSE, conf.file = NA)
chunked = function(reg) {
  ids = findJobs(reg = reg)
  ids$chunk = chunk(ids$job.id, n.chunks = n.chunks, shuffle = FALSE)
  ids
}
# A scheduler that accepts everything and does nothing.
nowhere = function() {
  count = 0
  makeClusterFunctions("nowhere",
    submitJob = function(reg, jc) {
      count <<- count + 1
      makeSubmitJobResult(0L, as.character(count))
    },
    listJobsRunning = function(reg) as.character(seq_len(count)),
    listJobsQueued = function(reg) character(), store.job.collection = TRUE)
}

steps = list(
  define = function() {
    reg = fresh("defined")
    measure("define", define(reg), registry("defined"))
  },
  reopen = function() measure("reopen, defined", load("defined")),
  query = function() {
    reg = load("defined")
    measure("string predicate", findJobs(x > 10, reg = reg))
    measure("whole job table", unwrap(getJobTable(reg = reg)))
    measure("get_status", getStatus(reg = reg))
  },
  run = function() {
    reg = fresh("finished"); define(reg)
    # With its own pauses, minutes would pass asleep.
    reg$sleep = function(i) 0.05
    reg$cluster.functions = makeClusterFunctionsMulticore(2)
    ids = chunked(reg)
    measure("run", { submitJobs(ids, reg = reg); stopifnot(waitForJobs(reg = reg)) },
            registry("finished"))
    stopifnot(nrow(findDone(reg = reg)) == n)
  },
  "reopen-finished" = function() measure("reopen", load("finished")),
  collect = function() {
    reg = load("finished")
    measure("collect list", reduceResultsList(reg = reg))
    measure("collect table", unwrap(reduceResultsDataTable(reg = reg)))
  },
  grep = function() {
    reg = load("finished")
    measure("grep logs", grepLogs(pattern = "boom", reg = reg))
  },
  # One update file a chunk, written in the package's own format: its best case.
  sync = function() {
    reg = fresh("synced"); define(reg)
    now = round(as.numeric(Sys.time()), 4)
    for (ids in split(seq_len(n), chunk(seq_len(n), n.chunks = n.chunks, shuffle = FALSE))) {
      update = data.table(job.id = ids, started = now, done = now, error = NA_character_,
                          mem.used = NA_real_, key = "job.id")
      saveRDS(update, file.path(registry("synced"), "updates", sprintf("%032x.rds", ids[1])))
    }
    measure("sync", syncRegistry(reg = reg))
    stopifnot(nrow(findDone(reg = reg)) == n)
    measure("idle poll, all ended", syncRegistry(reg = reg))
  },
  submit = function() {
    reg = fresh("submitted"); define(reg)
    reg$cluster.functions = nowhere()
    ids = findJobs(reg = reg)
    measure("submit, chunks of one job", submitJobs(ids, reg = reg), registry("submitted"))
  },
  poll = function() {
    reg = fresh("polled"); define(reg)
    reg$cluster.functions = nowhere()
    submitJobs(chunked(reg), reg = reg)
    measure("idle poll, all wait", { syncRegistry(reg = reg); getStatus(reg = reg) })
  },
  packing = function() {
    set.seed(1)
    times = rexp(n) * 100; wanted = max(n %/% 1000L, 1L)
    measure("chunk", chunk(seq_len(n), n.chunks = wanted))
    measure("lpt", lpt(times, n.chunks = wanted))
    measure("binpack", binpack(times, chunk.size = max(sum(times) / wanted, max(times))))
  },
  experiments = function() {
    unlink(registry("experiments"), recursive = TRUE)
    reg = makeExperimentRegistry(registry("experiments"), seed = 1, conf.file = NA)
    addProblem("problem", fun = function(job, data, a, ...) a, reg = reg)
    addAlgorithm("algorithm", fun = function(job, data, instance, b, ...) list(x = instance * b),
                 reg = reg)
    rows = 10^(floor(log10(n / 10)) %/% 2)
    problems = list(problem = data.table(a = seq_len(rows) - 1L))
    algorithms = list(algorithm = data.table(b = seq_len(n %/% 10L %/% rows) - 1L))
    add = function() addExperiments(problems, algorithms, repls = 10L, reg = reg)
    measure("add experiments", add(), registry("experiments"))
    measure("add the same experiments again", add())
    saveRegistry(reg)
    measure("reopen experiments", reg <- load("experiments"))
    measure("find_experiments", findExperiments(prob.pars = a == 3, repls = 1, reg = reg))
    measure("summarize_experiments", summarizeExperiments(reg = reg))
  },
  start = function() {
    run = function(what, code) measure(what, count = 1L, stopifnot(
      system2("Rscript", c("-e", shQuote(code)), stdout = FALSE, stderr = FALSE) == 0))
    run("start: import batchwright", "library(batchtools)")
    reg = fresh("started"); define(reg, 1L)
    uri = file.path(folder, "one.rds")
    saveRDS(makeJobCollection(reg = reg), uri)
    run("start: chunk of one job on a node", sprintf("batchtools::doJobCollection('%s')", uri))
  }
)
invisible(steps[[step]]())
