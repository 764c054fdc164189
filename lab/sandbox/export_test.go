package sandbox

// PID is the process id of process 1 outside, for tests that kill it.
func (s *Sandbox) PID() int { return s.cmd.Process.Pid }
