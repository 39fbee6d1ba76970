# One expert: llama-server with the best model of its list that works on the node, found by `twin expert serve`
# (docs/experts.md). Its workers, when it has any, are another job: llamacpp-rpc.nomad.hcl.

variable "job_name" {
  description = "Name of the job."
  type        = string
  default     = "llama-expert"
}

variable "namespace" {
  description = "Its namespace in Nomad."
  type        = string
  default     = "default"
}

variable "datacenters" {
  description = "Consul's and Nomad's datacenters."
  type        = list(string)
  default     = ["twin"]
}

variable "expert" {
  description = "The expert's name; its workers have the tag pool=<name>."
  type        = string
  default     = "main"
}

variable "service_name" {
  description = "What Consul calls it; agents ask services that begin with llama-api-."
  type        = string
  default     = "llama-api-main"
}

variable "service_meta" {
  description = "What it is good at, for the router."
  type        = map(string)
  default     = {}
}

variable "nodes" {
  description = "Nodes that are preferred; another is taken when none of them has room."
  type        = list(string)
  default     = []
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

variable "llama_server" {
  description = "The built llama-server."
  type        = string
  default     = "/usr/local/bin/llama-server"
}

variable "models_dir" {
  description = "Folder of the models."
  type        = string
  default     = "/opt/twin/models"
}

variable "models" {
  description = "The models, in order of preference; the last is served however slow it is."
  type        = list(object({ name = string, filename = string, sha256 = string, memory_mb = number, requires_cpu = list(string), token_bytes = number }))
}

variable "workers" {
  description = "How many workers lend memory."
  type        = number
  default     = 0
}

variable "memory_mb" {
  description = "Memory that the server takes on its node (MiB)."
  type        = number
}

variable "cpu_mhz" {
  description = "Share of the node's CPU that is kept for it (MHz)."
  type        = number
  default     = 500
}

variable "context" {
  description = "Context of each slot (tokens)."
  type        = number
  default     = 4096
}

variable "slots" {
  description = "Prompt caches, one a conversation."
  type        = number
  default     = 2
}

variable "least_tokens_s" {
  description = "Least tokens a second of a model that people listen to; 0 for any."
  type        = number
  default     = 0
}

variable "first_word_s" {
  description = "Longest wait for the first word (seconds); 0 for any."
  type        = number
  default     = 0
}

variable "consul_url" {
  description = "The node's own Consul agent, on loopback."
  type        = string
  default     = "http://127.0.0.1:8500"
}

variable "release" {
  description = "What is installed; another value starts the service anew."
  type        = string
  default     = ""
}

# What `twin expert serve` is told.
locals {
  order = {
    expert       = var.expert
    models       = var.models
    models_dir   = var.models_dir
    program      = var.llama_server
    host         = "{{ env `NOMAD_IP_http` }}"
    port         = "{{ env `NOMAD_PORT_http` }}"
    memory_mb    = var.memory_mb
    workers      = var.workers
    folder       = "{{ env `NOMAD_SECRETS_DIR` }}"
    context      = var.context
    slots        = var.slots
    decode       = var.least_tokens_s
    first_word_s = var.first_word_s
  }
}

job "llama-expert" {
  id          = var.job_name
  name        = var.job_name
  namespace   = var.namespace
  datacenters = var.datacenters
  type        = "service"
  priority    = 60

  meta {
    release = var.release
    # By this the health check knows that there should be one.
    expert = var.service_name
  }

  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "3s"
    healthy_deadline  = "15m"
    progress_deadline = "20m"
    auto_revert       = true
  }

  group "expert" {
    count = 1

    dynamic "affinity" {
      for_each = length(var.nodes) == 0 ? [] : [join(",", var.nodes)]
      content {
        attribute = "${node.unique.name}"
        operator  = "set_contains_any"
        value     = affinity.value
        weight    = 100
      }
    }

    restart {
      attempts = 5
      interval = "5m"
      delay    = "3s"
      mode     = "fail"
    }

    reschedule {
      delay          = "5s"
      delay_function = "constant"
      unlimited      = true
    }

    disconnect {
      stop_on_client_after = "30s"
    }

    network {
      port "http" {}
    }

    service {
      name = var.service_name
      port = "http"
      tags = ["expert=${var.expert}"]
      # What it says of itself. A service's metadata is a block of fixed names; a text that is empty counts for none.
      meta {
        description = lookup(var.service_meta, "description", "")
        example_1   = lookup(var.service_meta, "example_1", "")
        example_2   = lookup(var.service_meta, "example_2", "")
        example_3   = lookup(var.service_meta, "example_3", "")
        example_4   = lookup(var.service_meta, "example_4", "")
        example_5   = lookup(var.service_meta, "example_5", "")
        example_6   = lookup(var.service_meta, "example_6", "")
        example_7   = lookup(var.service_meta, "example_7", "")
        example_8   = lookup(var.service_meta, "example_8", "")
        example_9   = lookup(var.service_meta, "example_9", "")
        example_10  = lookup(var.service_meta, "example_10", "")
        example_11  = lookup(var.service_meta, "example_11", "")
        example_12  = lookup(var.service_meta, "example_12", "")
        example_13  = lookup(var.service_meta, "example_13", "")
        example_14  = lookup(var.service_meta, "example_14", "")
        example_15  = lookup(var.service_meta, "example_15", "")
        example_16  = lookup(var.service_meta, "example_16", "")
        example_17  = lookup(var.service_meta, "example_17", "")
        example_18  = lookup(var.service_meta, "example_18", "")
        example_19  = lookup(var.service_meta, "example_19", "")
        example_20  = lookup(var.service_meta, "example_20", "")
        example_21  = lookup(var.service_meta, "example_21", "")
        example_22  = lookup(var.service_meta, "example_22", "")
        example_23  = lookup(var.service_meta, "example_23", "")
        example_24  = lookup(var.service_meta, "example_24", "")
        example_25  = lookup(var.service_meta, "example_25", "")
        example_26  = lookup(var.service_meta, "example_26", "")
        example_27  = lookup(var.service_meta, "example_27", "")
        example_28  = lookup(var.service_meta, "example_28", "")
        example_29  = lookup(var.service_meta, "example_29", "")
        example_30  = lookup(var.service_meta, "example_30", "")
        example_31  = lookup(var.service_meta, "example_31", "")
        example_32  = lookup(var.service_meta, "example_32", "")
        example_33  = lookup(var.service_meta, "example_33", "")
        example_34  = lookup(var.service_meta, "example_34", "")
        example_35  = lookup(var.service_meta, "example_35", "")
        example_36  = lookup(var.service_meta, "example_36", "")
        example_37  = lookup(var.service_meta, "example_37", "")
        example_38  = lookup(var.service_meta, "example_38", "")
        example_39  = lookup(var.service_meta, "example_39", "")
        example_40  = lookup(var.service_meta, "example_40", "")
        example_41  = lookup(var.service_meta, "example_41", "")
        example_42  = lookup(var.service_meta, "example_42", "")
        example_43  = lookup(var.service_meta, "example_43", "")
        example_44  = lookup(var.service_meta, "example_44", "")
        example_45  = lookup(var.service_meta, "example_45", "")
        example_46  = lookup(var.service_meta, "example_46", "")
        example_47  = lookup(var.service_meta, "example_47", "")
        example_48  = lookup(var.service_meta, "example_48", "")
        example_49  = lookup(var.service_meta, "example_49", "")
        example_50  = lookup(var.service_meta, "example_50", "")
        example_51  = lookup(var.service_meta, "example_51", "")
        example_52  = lookup(var.service_meta, "example_52", "")
        example_53  = lookup(var.service_meta, "example_53", "")
        example_54  = lookup(var.service_meta, "example_54", "")
        example_55  = lookup(var.service_meta, "example_55", "")
        example_56  = lookup(var.service_meta, "example_56", "")
        example_57  = lookup(var.service_meta, "example_57", "")
        example_58  = lookup(var.service_meta, "example_58", "")
        example_59  = lookup(var.service_meta, "example_59", "")
        example_60  = lookup(var.service_meta, "example_60", "")
      }

      check {
        name     = "ready"
        type     = "http"
        path     = "/health"
        interval = "2s"
        timeout  = "2s"
      }
    }

    task "server" {
      driver       = "raw_exec"
      user         = var.user
      kill_timeout = "20s"

      # A token of Consul that may see the workers.
      consul {}

      config {
        # It ends with its executor: what outlives that keeps the port, and Nomad knows nothing of it.
        command = "/usr/bin/setpriv"
        args    = ["--pdeathsig", "TERM", "--", var.program, "expert", "serve", "--config", "${NOMAD_TASK_DIR}/order.json"]
      }

      env {
        TWIN_CONSUL_URL = var.consul_url
      }

      template {
        destination = "${NOMAD_TASK_DIR}/order.json"
        data        = jsonencode(local.order)
      }

      # The key that callers show, and the certificate by which the expert and its workers know each other.
      template {
        destination = "${NOMAD_SECRETS_DIR}/expert.env"
        env         = true
        perms       = "0600"
        change_mode = "restart"
        data        = <<-EOT
        {{- with nomadVar "nomad/jobs/${var.job_name}" }}
        TWIN_EXPERT_KEY={{ .key | toJSON }}
        TWIN_EXPERT_CERTIFICATE={{ .certificate | toJSON }}
        TWIN_EXPERT_CERTIFICATE_KEY={{ .certificate_key | toJSON }}
        {{- end }}
        EOT
      }

      resources {
        cpu    = var.cpu_mhz
        memory = var.memory_mb
      }
    }
  }
}
