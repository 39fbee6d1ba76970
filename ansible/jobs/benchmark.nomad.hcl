# Measures, once on every node, how quick its language model is, with llama.cpp's llama-bench: the result is in the
# task's log, and below benchmarks/ in the node's data folder by node and date (docs/planning.md).
# `nomad job run /opt/nomad/jobs/benchmark.nomad` runs it as it is; each run is a new one.

variable "datacenters" {
  description = "Consul's and Nomad's datacenters."
  type        = list(string)
  default     = ["twin"]
}

variable "user" {
  description = "User that the task runs as."
  type        = string
  default     = "pipecatapp"
}

variable "program" {
  description = "The command line of the installed agent."
  type        = string
  default     = "/opt/twin/twin"
}

variable "model" {
  description = "Which model, by its name in models.yaml; the one that the node thinks with when empty."
  type        = string
  default     = ""
}

variable "prompt_tokens" {
  description = "Length of the prompt (tokens, 1 to 4096)."
  type        = number
  default     = 128
}

variable "answer_tokens" {
  description = "Length of the answer (tokens, 1 to 4096)."
  type        = number
  default     = 32
}

variable "repeats" {
  description = "How often each is measured."
  type        = number
  default     = 5
}

variable "memory_mb" {
  description = "Memory that is kept free for it on each node (MiB)."
  type        = number
  default     = 1000
}

variable "run" {
  description = "A text that is another one each time, so that it runs again; one is made when empty."
  type        = string
  default     = ""
}

job "llama-benchmark" {
  datacenters = var.datacenters
  type        = "sysbatch"
  # Below all that people wait for.
  priority = 20

  meta {
    run = var.run == "" ? uuidv4() : var.run
  }

  group "benchmark" {
    # A failure is the answer; another try would only hide it.
    restart {
      attempts = 0
      mode     = "fail"
    }

    task "benchmark" {
      driver = "raw_exec"
      user   = var.user

      config {
        command = var.program
        args    = ["node", "bench", "--node", "${node.unique.name}", "--model", var.model, "--prompt", "${var.prompt_tokens}", "--answer", "${var.answer_tokens}", "--repeats", "${var.repeats}"]
      }

      resources {
        cpu    = 100
        memory = var.memory_mb
      }
    }
  }
}
