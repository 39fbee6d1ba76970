"""How a machine joins the cluster by a one-time token; standard library only.

It owns tokens (`tokens`), the service that takes them (`server`), the joining machine's side (`worker`,
`letin`) and the hand-over to root (`spool`, `provision`). What a worker is made of is the playbooks'.
"""
