# The agent, as programs of the node itself (raw_exec): one worker on each of `count` nodes, with the language
# model's server beside it. Values come from a var-file; docs/cluster.md says how to change and run it by hand.

variable "datacenters" {
  description = "Consul's and Nomad's datacenters."
  type        = list(string)
  default     = ["twin"]
}

variable "count" {
  description = "Workers, each on a node of its own: one holds about five calls."
  type        = number
  default     = 1
}

variable "user" {
  description = "User that the tasks run as."
  type        = string
  default     = "pipecatapp"
}

variable "program" {
  description = "The command line of the installed agent."
  type        = string
  default     = "/opt/twin/twin"
}

variable "consul_url" {
  description = "The node's own Consul agent, on loopback."
  type        = string
  default     = "http://127.0.0.1:8500"
}

variable "tls_dir" {
  description = "Folder of the node's certificate, its key and the house's authority."
  type        = string
  default     = "/var/lib/twin/tls"
}

variable "release" {
  description = "What is installed; another value starts the workers anew, one after the other."
  type        = string
  default     = ""
}

variable "llm_base_url" {
  description = "OpenAI-compatible server that thinks, ending in /v1; empty for the one beside the agent."
  type        = string
  default     = ""
}

variable "settings" {
  description = "Further settings of the agent, by the names in docs/reference/settings.md; no secrets."
  type        = map(string)
  default     = {}
}

variable "agent_memory_mb" {
  description = "Memory that a worker is expected to take (MiB)."
  type        = number
  default     = 900
}

variable "llm_memory_mb" {
  description = "Memory that the language model's server is expected to take (MiB)."
  type        = number
  default     = 1100
}

job "pipecat-app" {
  datacenters = var.datacenters
  type        = "service"
  # Above the experts and batch jobs: the conversation goes first.
  priority = 80

  meta {
    release = var.release
  }

  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "5s"
    healthy_deadline  = "5m"
    progress_deadline = "10m"
    auto_revert       = true
  }

  group "agent" {
    count = var.count

    # Two workers of one node would be lost together.
    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    # A worker that does not stay up here is tried on another node.
    restart {
      attempts = 5
      interval = "3m"
      delay    = "2s"
      mode     = "fail"
    }

    reschedule {
      delay          = "5s"
      delay_function = "constant"
      unlimited      = true
    }

    # The front has heard that a worker goes before the worker is told to.
    shutdown_delay = "4s"

    # A node that was cut off goes on with its calls; when it is back, the worker that began last is stopped:
    # the one that took its place, or, when the node itself had been down, the one that has just started there.
    disconnect {
      lost_after = "1h"
      replace    = true
      reconcile  = "longest_running"
    }

    network {
      port "http" {}
      port "https" {}
      port "llm" {}
    }

    service {
      name = "pipecat-app"
      port = "http"
      tags = ["worker"]

      meta {
        worker = "${NOMAD_ALLOC_INDEX}"
        https  = "${NOMAD_PORT_https}"
      }

      # Ready when speech, language model and memory have each answered.
      check {
        name     = "ready"
        type     = "http"
        path     = "/health"
        interval = "3s"
        timeout  = "2s"

        check_restart {
          limit = 20
          grace = "180s"
        }
      }
    }

    task "llm" {
      driver = "raw_exec"
      user   = var.user

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "/usr/bin/setpriv"
        args    = concat(["--pdeathsig", "TERM", "--", var.llm_base_url == "" ? var.program : "/bin/sleep"], var.llm_base_url == "" ? ["llm"] : ["infinity"])
      }

      env {
        LLM_PORT     = "${NOMAD_PORT_llm}"
        LLM_BASE_URL = ""
      }

      resources {
        cpu    = 100
        memory = var.llm_memory_mb
      }
    }

    task "agent" {
      driver       = "raw_exec"
      user         = var.user
      kill_timeout = "20s"

      # A token of Consul that may read where the experts and the memory are.
      consul {}

      config {
        # It ends with its executor: what outlives that keeps the port, and Nomad knows nothing of it.
        command = "/usr/bin/setpriv"
        args    = ["--pdeathsig", "TERM", "--", var.program, "serve"]
      }

      env {
        TWIN_HOST       = "${NOMAD_IP_http}"
        TWIN_PORT       = "${NOMAD_PORT_http}"
        TWIN_TLS_PORT   = "${NOMAD_PORT_https}"
        LLM_BASE_URL    = var.llm_base_url == "" ? "http://127.0.0.1:${NOMAD_PORT_llm}/v1" : var.llm_base_url
        TWIN_CONSUL_URL = var.consul_url
        TWIN_MEMORY     = "remote"
        TWIN_MEMORY_CA  = "${var.tls_dir}/ca.crt"
      }

      # Further settings, this worker's number (the front finds a conversation's worker by it), and what is
      # secret: the memory's token, from the job's variables in Nomad.
      template {
        destination = "${NOMAD_SECRETS_DIR}/agent.env"
        env         = true
        perms       = "0600"
        change_mode = "restart"
        data        = <<-EOT
        {{- range $name, $value := "${base64encode(jsonencode(var.settings))}" | base64Decode | parseJSON }}
        {{ $name }}={{ $value | toJSON }}
        {{- end }}
        TWIN_WORKER={{ env "NOMAD_ALLOC_INDEX" | parseInt | add 1 }}
        {{- with nomadVar "nomad/jobs/pipecat-app" }}
        {{- range $name, $value := . }}
        {{ $name }}={{ $value.Value | toJSON }}
        {{- end }}
        {{- end }}
        EOT
      }

      resources {
        cpu    = 200
        memory = var.agent_memory_mb
      }
    }
  }
}
