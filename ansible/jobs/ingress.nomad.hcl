# The front on every node: HTTP on 8000 and HTTPS on 8443, shared out to the agent's workers wherever they run.
# HAProxy's configuration is written by Nomad from what Consul knows and is reloaded when a worker comes or goes.
# House ports: http, https

variable "datacenters" {
  description = "Consul's and Nomad's datacenters."
  type        = list(string)
  default     = ["twin"]
}

variable "user" {
  description = "User that HAProxy runs as."
  type        = string
  default     = "pipecatapp"
}

variable "configuration" {
  description = "HAProxy's configuration as a template of Nomad; the role `ingress` renders it."
  type        = string
}

variable "http_port" {
  description = "Port of the page and the API."
  type        = number
  default     = 8000
}

variable "https_port" {
  description = "The same with the node's certificate."
  type        = number
  default     = 8443
}

job "ingress" {
  datacenters = var.datacenters
  type        = "system"
  priority    = 90

  update {
    max_parallel     = 1
    min_healthy_time = "3s"
    healthy_deadline = "2m"
    auto_revert      = true
    # A machine that is off counts as one that has not taken the change yet, however long; what fails there reverts.
    progress_deadline = "0"
  }

  group "front" {
    # A machine that does not answer keeps its front, and goes on with it when it is back: Nomad would be there before
    # Consul is, and nobody tries again what fails then. Longer than any machine is off: what is lost is not placed anew
    # by the look that finds the machine back.
    disconnect {
      lost_after = "87600h"
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    network {
      port "http" {
        static = var.http_port
      }
      port "https" {
        static = var.https_port
      }
    }

    service {
      name = "ingress"
      port = "http"

      # What this machine calls itself: by that name too its page may be asked for.
      meta {
        host = "${attr.unique.hostname}"
      }

      # HAProxy itself answers, also while no worker is ready.
      check {
        name     = "front"
        type     = "tcp"
        interval = "5s"
        timeout  = "2s"

        check_restart {
          limit = 5
          grace = "30s"
        }
      }
    }

    task "haproxy" {
      driver = "raw_exec"
      user   = var.user

      # A token of Consul that may read where the workers are.
      consul {}

      config {
        # It ends with its executor: what outlives that keeps the port, and Nomad knows nothing of it.
        command = "/usr/bin/setpriv"
        args    = ["--pdeathsig", "TERM", "--", "/usr/sbin/haproxy", "-W", "-db", "-f", "${NOMAD_TASK_DIR}/haproxy.cfg"]
      }

      template {
        destination   = "${NOMAD_TASK_DIR}/haproxy.cfg"
        change_mode   = "signal"
        change_signal = "SIGUSR2"
        # Consul may be away for a while; the front goes on with the workers it knows.
        wait {
          min = "500ms"
          max = "2s"
        }
        data = var.configuration
      }

      resources {
        cpu    = 50
        memory = 96
      }
    }
  }
}
