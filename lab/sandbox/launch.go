package sandbox

import (
	"runtime"
	"sync"
)

// launch runs f on the one thread that starts process 1 of every sandbox.
//
// The kernel ties PDEATHSIG to the thread that forked, not to its process. The
// runtime ends a thread when a goroutine ends that is locked to it, whichever
// goroutines used that thread before, so an ordinary goroutine's thread may die
// any time and take the sandbox with it. This one never does. It also is never in
// another namespace, wherever the caller is.
func launch(f func() error) error {
	done := make(chan error, 1)
	launcher() <- func() { done <- f() }
	return <-done
}

var launcher = sync.OnceValue(func() chan<- func() {
	requests := make(chan func())
	go func() {
		// Never the main thread: init locked that one to the main goroutine.
		runtime.LockOSThread()
		for f := range requests {
			f()
		}
	}()
	return requests
})
