# Asks every expert and the agent once and ends: it fails when an expert is missing or does not complete a real
# prompt. `ansible-playbook playbooks/run_health_check.yaml` runs it and shows what it says.

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

variable "arguments" {
  description = "Arguments of the check, such as the experts that must be there."
  type        = list(string)
  default     = []
}

variable "run" {
  description = "A text that is another one each time, so that the check runs again."
  type        = string
  default     = ""
}

job "health-check" {
  datacenters = var.datacenters
  type        = "batch"
  priority    = 60

  meta {
    run = var.run
  }

  group "check" {
    # A failure is the answer; another try would only hide it.
    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "check" {
      driver = "raw_exec"
      user   = var.user

      # A token of Consul that may read where the experts are.
      consul {}

      config {
        command = var.program
        args    = concat(["check-experts"], var.arguments)
      }

      env {
        TWIN_CONSUL_URL = var.consul_url
      }

      # The key that experts want, from the job's variables in Nomad.
      template {
        destination = "${NOMAD_SECRETS_DIR}/check.env"
        env         = true
        perms       = "0600"
        data        = <<-EOT
        {{- if nomadVarExists "nomad/jobs/health-check" }}
        {{- with nomadVar "nomad/jobs/health-check" }}
        {{- range $name, $value := . }}
        {{ $name }}={{ $value.Value | toJSON }}
        {{- end }}
        {{- end }}
        {{- end }}
        EOT
      }

      resources {
        cpu    = 100
        memory = 150
      }
    }
  }
}
