package shutdown

import (
	"bytes"
	"runtime/debug"
	"slices"
)

// panicStack is the stack of the goroutine that panics, from the panic on:
// without the frames that recovered it.
func panicStack() []byte {
	stack := debug.Stack()
	header, frames, _ := bytes.Cut(stack, []byte("\n"))
	if i := bytes.Index(frames, []byte("\npanic(")); i >= 0 {
		return slices.Concat(header, frames[i:])
	}
	return stack
}
