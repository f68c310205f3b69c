//go:build entrypoint_lean

package shutdown

import "testing"

// A task whose goroutine has not run yet has no stack, and not those of the
// goroutines that nobody started.
func TestStackBeforeRun(t *testing.T) {
	if stack := new(task).stacks(goroutineProfile()); len(stack) > 0 {
		t.Errorf("got\n%s", stack)
	}
}
