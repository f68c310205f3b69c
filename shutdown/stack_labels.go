//go:build !entrypoint_lean

package shutdown

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strconv"
)

// labelKey is the profiler label of a hook's goroutines. Goroutines inherit
// labels from the one that starts them, so the label finds those, too. Its
// value is the task's id, a space, and the name, for people who read a
// profile.
const labelKey = "shutdown"

// goroutineProfile is the profile of all goroutines, in the text form that has
// their labels. It stops the world for a moment and takes about 1.5 ms for a
// thousand goroutines.
func goroutineProfile() []byte {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		return nil // a bytes.Buffer does not fail
	}
	return b.Bytes()
}

// labelled calls f under a label by which the goroutines of the task are found.
func (t *task) labelled(ctx context.Context, f func(context.Context)) {
	pprof.Do(ctx, pprof.Labels(labelKey, t.id+" "+t.entry.title()), f)
}

// stacks returns the stacks of the goroutines of the task, and of the tasks
// inside it. A record of the profile is
//
//	2 @ 0x47d8ae 0x456a5d 0x59f1b8 0x484ac1
//	# labels: {"shutdown":"3w5e1.2 kafka"}
//	#	0x59f1b7	example.com/kafka.(*Writer).Close+0x57	/src/kafka/writer.go:81
//
// and an empty line; 2 is the number of goroutines with this stack.
func (t *task) stacks(profile []byte) []byte {
	var out bytes.Buffer
	label := []byte(strconv.Quote(labelKey) + `:"` + t.id)
	_, profile, _ = bytes.Cut(profile, []byte("\n")) // "goroutine profile: total 7"
	for record := range bytes.SplitSeq(profile, []byte("\n\n")) {
		head, frames, _ := bytes.Cut(record, []byte("\n#\t"))
		if _, rest, ok := bytes.Cut(head, label); ok && (rest[0] == ' ' || rest[0] == '/') {
			writeRecord(&out, head, frames)
		}
	}
	return out.Bytes()
}

// writeRecord writes a record in the form of a traceback, without addresses,
// without labels, and without the frames of this package that called the hook.
func writeRecord(out *bytes.Buffer, head, frames []byte) {
	if out.Len() > 0 {
		out.WriteByte('\n')
	}
	callerOfHooks := packagePath() + ".(*task).run.func1"
	count, _, _ := bytes.Cut(head, []byte(" @"))
	plural := "s"
	if string(count) == "1" {
		plural = ""
	}
	fmt.Fprintf(out, "%s goroutine%s:\n", count, plural)
	for line := range bytes.SplitSeq(frames, []byte("\n")) {
		// The columns are filled up with tabs.
		_, line, _ = bytes.Cut(bytes.TrimPrefix(line, []byte("#\t")), []byte("\t"))
		function, file, _ := bytes.Cut(line, []byte("\t"))
		function, _, _ = bytes.Cut(function, []byte("+0x"))
		switch string(function) {
		case "": // the profile's last line
		case callerOfHooks:
			return
		default:
			fmt.Fprintf(out, "%s\n\t%s\n", function, bytes.TrimLeft(file, "\t"))
		}
	}
}
