"""Senders that our users would pick instead, each a process that reports what the sending alone cost."""
