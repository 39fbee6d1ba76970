# The long-term memory of the whole cluster: one instance, which every worker writes to and reads from. What it
# holds is in Consul's replicated store, so that it can go on from there on another node (docs/memory.md).

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
  description = "What is installed; another value starts the service anew."
  type        = string
  default     = ""
}

variable "memory_mb" {
  description = "Memory that the service is expected to take (MiB): the embedder and 10 000 facts."
  type        = number
  default     = 400
}

job "memory-service" {
  datacenters = var.datacenters
  type        = "service"
  priority    = 85

  meta {
    release = var.release
  }

  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "3s"
    healthy_deadline  = "3m"
    progress_deadline = "5m"
    auto_revert       = true
  }

  group "memory" {
    count = 1

    restart {
      attempts = 5
      interval = "2m"
      delay    = "2s"
      mode     = "fail"
    }

    reschedule {
      delay          = "5s"
      delay_function = "constant"
      unlimited      = true
    }

    # A node that was cut off loses the memory to another one; Consul's lock keeps the old one from writing.
    disconnect {
      stop_on_client_after = "30s"
    }

    network {
      port "http" {}
    }

    service {
      name = "memory-service"
      port = "http"
      tags = ["https"]

      check {
        name     = "ready"
        type     = "http"
        protocol = "https"
        path     = "/health"
        interval = "3s"
        timeout  = "2s"
        # The check comes from the node's own Consul, by address.
        tls_skip_verify = true

        check_restart {
          limit = 20
          grace = "60s"
        }
      }
    }

    task "memory" {
      driver       = "raw_exec"
      user         = var.user
      kill_timeout = "20s"

      # A token of Consul that may write what the memory holds.
      consul {}

      config {
        # It ends with its executor: what outlives that keeps the port, and Nomad knows nothing of it.
        command = "/usr/bin/setpriv"
        args    = ["--pdeathsig", "TERM", "--", var.program, "memory", "serve"]
      }

      env {
        TWIN_HOST               = "${NOMAD_IP_http}"
        TWIN_PORT               = "${NOMAD_PORT_http}"
        TWIN_CONSUL_URL         = var.consul_url
        TWIN_MEMORY_CERTIFICATE = "${var.tls_dir}/node.crt"
        TWIN_MEMORY_KEY         = "${var.tls_dir}/node.key"
        TWIN_MEMORY_CA          = "${var.tls_dir}/ca.crt"
      }

      # The token that the workers show, from the job's variables in Nomad.
      template {
        destination = "${NOMAD_SECRETS_DIR}/memory.env"
        env         = true
        perms       = "0600"
        change_mode = "restart"
        data        = <<-EOT
        {{- with nomadVar "nomad/jobs/memory-service" }}
        {{- range $name, $value := . }}
        {{ $name }}={{ $value.Value | toJSON }}
        {{- end }}
        {{- end }}
        EOT
      }

      resources {
        cpu    = 100
        memory = var.memory_mb
      }
    }
  }
}
