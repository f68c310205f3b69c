//go:build entrypoint_lean

package shutdown

import (
	"bytes"
	"context"
	"runtime"
)

// Package runtime/pprof, whose labels stack_labels.go uses, makes a program 230
// KiB larger. Without it a goroutine is known by the one that started it, which
// a traceback names, so that the chain breaks where one of them has ended.

// labelled notes the number of the goroutine that runs f for the task.
func (t *task) labelled(ctx context.Context, f func(context.Context)) {
	buf := make([]byte, 64)
	own, _ := goroutineNumbers(buf[:runtime.Stack(buf, false)])
	t.mu.Lock()
	t.goroutine = own
	t.mu.Unlock()
	f(ctx)
}

// goroutineProfile is the traceback of all goroutines, up to 64 MiB of it. It
// stops the world, for about 3 ms for a thousand goroutines.
func goroutineProfile() []byte {
	for size := 64 << 10; ; size *= 4 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size || size >= 64<<20 {
			return buf[:n]
		}
	}
}

// stacks returns the tracebacks of the task's goroutine, and of those that it
// started, directly or through others that still run.
func (t *task) stacks(profile []byte) []byte {
	t.mu.Lock()
	first := t.goroutine
	t.mu.Unlock()
	if first == "" {
		return nil // it has not run yet
	}
	ours := map[string]bool{first: true}
	traces := bytes.Split(bytes.TrimSpace(profile), []byte("\n\n"))
	for known := 0; known < len(ours); {
		known = len(ours)
		for _, trace := range traces {
			if number, parent := goroutineNumbers(trace); ours[parent] {
				ours[number] = true
			}
		}
	}

	var out bytes.Buffer
	for _, trace := range traces {
		if number, _ := goroutineNumbers(trace); ours[number] {
			// Without the frames of this package that called the hook.
			trace, _, _ = bytes.Cut(trace, []byte("\n"+packagePath()+".(*task).run"))
			out.Write(trace)
			out.WriteString("\n\n")
		}
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

// goroutineNumbers reads from the traceback of a goroutine which one that is, and
// which one started it:
//
//	goroutine 35 [select, 2 minutes]:
//	…
//	created by example.com/kafka.(*Writer).Close in goroutine 34
//		/src/kafka/writer.go:81 +0x57
func goroutineNumbers(trace []byte) (own, parent string) {
	_, rest, _ := bytes.Cut(trace, []byte("goroutine "))
	number, _, _ := bytes.Cut(rest, []byte(" "))
	if i := bytes.LastIndex(trace, []byte(" in goroutine ")); i >= 0 {
		line, _, _ := bytes.Cut(trace[i+len(" in goroutine "):], []byte("\n"))
		parent = string(line)
	}
	return string(number), parent
}
