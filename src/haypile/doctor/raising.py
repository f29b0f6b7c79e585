"""How each limit is raised, as commands to copy.

Owns: the commands. Must not know: the limits' values (``limits``).

Sources: mq_overview(7), sysctl(8), bash(1) ulimit, systemd.exec(5), docker-run(1),
https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/.
"""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """One way to raise limits."""

    where: str
    commands: tuple[str, ...]
    note: str = ""


#: What haypile's own lanes can use comes first; the others are for queues that programs size themselves.
SYSCTLS = (
    ("fs.mqueue.queues_max", 4096),
    ("kernel.msgmnb", 65_536),
    ("kernel.msgmni", 32_000),
    ("fs.mqueue.msg_max", 1000),
    ("fs.mqueue.msgsize_max", 65_536),
    ("kernel.msgmax", 65_536),
)

ADVICE = (
    Advice(
        "this host, until it reboots (root)",
        tuple(f"sysctl -w {name}={value}" for name, value in SYSCTLS),
        "For good: the same as NAME = VALUE lines in /etc/sysctl.d/60-haypile.conf, then: sysctl --system",
    ),
    Advice(
        "the bytes of a user's POSIX queues (RLIMIT_MSGQUEUE) and descriptors",
        ("ulimit -q unlimited", "ulimit -n 65536"),
        "A user may raise them up to the hard limit only; for more, in /etc/security/limits.d/haypile.conf: "
        "'USER - msgqueue unlimited' and 'USER - nofile 65536', then log in again",
    ),
    Advice("a systemd service", ("LimitMSGQUEUE=infinity", "LimitNOFILE=65536"), "In its [Service] section."),
    Advice(
        "a Docker container",
        (
            "docker run --ulimit msgqueue=-1 --ulimit nofile=65536 --shm-size=1g "
            + " ".join(f"--sysctl {name}={value}" for name, value in SYSCTLS)
            + " IMAGE",
        ),
        "Containers share queues only with one IPC namespace (--ipc=container:NAME) and one state directory "
        "(a volume at HAYPILE_DIR).",
    ),
    Advice(
        "a Kubernetes pod",
        (
            "kubelet --allowed-unsafe-sysctls='fs.mqueue.*,kernel.msg*'",
            'spec.securityContext.sysctls: [{name: fs.mqueue.queues_max, value: "4096"}, '
            '{name: kernel.msgmnb, value: "65536"}, {name: fs.mqueue.msg_max, value: "1000"}]',
            'spec.volumes: [{name: shm, emptyDir: {medium: Memory, sizeLimit: 1Gi}}], mounted at /dev/shm',
        ),
        "A pod cannot set RLIMIT_MSGQUEUE: it is the container runtime's (LimitMSGQUEUE= of its systemd service).",
    ),
)
