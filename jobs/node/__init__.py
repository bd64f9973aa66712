"""What runs inside a job: the task, its lock, its requeue, its usage."""
