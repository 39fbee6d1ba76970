# Workers that lend an expert their memory: llama.cpp's RPC server, which has neither a password nor a cipher and so
# listens on loopback only, and HAProxy in front of it, which lets in who shows the expert's own certificate.

variable "job_name" {
  description = "Name of the job."
  type        = string
  default     = "llamacpp-rpc"
}

variable "namespace" {
  description = "Its namespace in Nomad, the expert's."
  type        = string
  default     = "default"
}

variable "datacenters" {
  description = "Consul's and Nomad's datacenters."
  type        = list(string)
  default     = ["twin"]
}

variable "expert" {
  description = "Whose workers they are."
  type        = string
  default     = "main"
}

variable "count" {
  description = "How many; each is on a node of its own."
  type        = number
  default     = 1
}

variable "nodes" {
  description = "Nodes that are preferred; another is taken when none of them has room."
  type        = list(string)
  default     = []
}

variable "user" {
  description = "User that the tasks run as; HAProxy becomes it when it has read its certificate."
  type        = string
  default     = "pipecatapp"
}

variable "program" {
  description = "The command line of the installed agent."
  type        = string
  default     = "/opt/twin/twin"
}

variable "rpc_server" {
  description = "The built ggml-rpc-server."
  type        = string
  default     = "/usr/local/bin/ggml-rpc-server"
}

variable "haproxy" {
  description = "HAProxy."
  type        = string
  default     = "/usr/sbin/haproxy"
}

variable "memory_mb" {
  description = "Memory that each lends (MiB)."
  type        = number
}

variable "cpu_mhz" {
  description = "Share of the node's CPU that is kept for it (MHz)."
  type        = number
  default     = 500
}

variable "threads" {
  description = "CPU threads of each."
  type        = number
  default     = 2
}

job "llamacpp-rpc" {
  id          = var.job_name
  name        = var.job_name
  namespace   = var.namespace
  datacenters = var.datacenters
  type        = "service"
  priority    = 60

  update {
    max_parallel      = 1
    health_check      = "checks"
    min_healthy_time  = "2s"
    healthy_deadline  = "3m"
    progress_deadline = "5m"
    auto_revert       = true
  }

  group "worker" {
    count = var.count

    dynamic "affinity" {
      for_each = length(var.nodes) == 0 ? [] : [join(",", var.nodes)]
      content {
        attribute = "${node.unique.name}"
        operator  = "set_contains_any"
        value     = affinity.value
        weight    = 100
      }
    }

    constraint {
      distinct_hosts = true
    }

    # A worker whose server ends is gone, with what it held; another one takes its place.
    restart {
      attempts = 0
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
      port "rpc" {}
      # Of the RPC server itself, on loopback.
      port "inner" {}
    }

    service {
      name = "rpc-provider"
      port = "rpc"
      tags = ["pool=${var.expert}", "memory-mb=${var.memory_mb}"]

      # The door's. The server behind it takes one connection at a time, and a check would wait for its turn.
      check {
        name     = "ready"
        type     = "tcp"
        interval = "2s"
        timeout  = "2s"
      }
    }

    task "rpc" {
      driver       = "raw_exec"
      leader       = true
      user         = var.user
      kill_timeout = "5s"

      config {
        # It ends with its executor: what outlives that keeps the port, and Nomad knows nothing of it. The agent's
        # command runs it with the CPU library that was found to work here, and tries anew when it died all the same.
        command = "/usr/bin/setpriv"
        args    = ["--pdeathsig", "TERM", "--", var.program, "artifacts", "run", var.rpc_server, "--host", "127.0.0.1", "--port", "${NOMAD_PORT_inner}", "--threads", "${var.threads}", "--cache"]
      }

      env {
        # What it has been sent once it finds again, for as long as the allocation lasts.
        LLAMA_CACHE = "${NOMAD_TASK_DIR}/cache/"
      }

      resources {
        cpu    = var.cpu_mhz
        memory = var.memory_mb
      }
    }

    task "door" {
      driver       = "raw_exec"
      kill_timeout = "5s"

      config {
        command = var.haproxy
        args    = ["-db", "-f", "${NOMAD_TASK_DIR}/door.cfg"]
      }

      template {
        destination = "${NOMAD_TASK_DIR}/door.cfg"
        change_mode = "restart"
        data        = <<-EOT
        global
          nbthread 1
          tune.bufsize 262144
          user ${var.user}
        defaults
          mode tcp
          # Who comes when the server is gone is told so at once.
          retries 0
          timeout connect 5s
          # A computation or the loading of a layer may be silent for long.
          timeout client 1h
          timeout server 1h
          # A machine that lost its power or its cable breaks no connection; the next who comes must not wait for it.
          option clitcpka
          clitcpka-idle 5s
          clitcpka-intvl 5s
        listen door
          bind {{ env "NOMAD_IP_rpc" }}:{{ env "NOMAD_PORT_rpc" }} tcp-ut 30s ssl crt {{ env "NOMAD_SECRETS_DIR" }}/combined.pem ca-file {{ env "NOMAD_SECRETS_DIR" }}/certificate.pem verify required ssl-min-ver TLSv1.3 ciphersuites TLS_CHACHA20_POLY1305_SHA256
          server rpc 127.0.0.1:{{ env "NOMAD_PORT_inner" }}
        EOT
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/certificate.pem"
        perms       = "0600"
        change_mode = "restart"
        data        = "{{ with nomadVar \"nomad/jobs/${var.job_name}\" }}{{ .certificate }}{{ end }}"
      }

      template {
        destination = "${NOMAD_SECRETS_DIR}/combined.pem"
        perms       = "0600"
        change_mode = "restart"
        data        = "{{ with nomadVar \"nomad/jobs/${var.job_name}\" }}{{ .certificate }}\n{{ .certificate_key }}{{ end }}"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
