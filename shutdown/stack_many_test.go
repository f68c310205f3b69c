// SPDX-License-Identifier: MIT

package shutdown

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// manyTraces is a traceback of n goroutines. The first half are those of n/2 tasks,
// each of which has started one of the other half and given it its label.
func manyTraces(n int, labels bool) (all string, paths []string) {
	var b strings.Builder
	for i := range n {
		task, parent := n+i%(n/2), 1
		if i >= n/2 {
			parent = task
		} else {
			paths = append(paths, "7/"+strconv.Itoa(task))
		}
		label := ""
		if labels {
			label = fmt.Sprintf(` labels:{"shutdown": "7/%d/8 job"}`, task)
		}
		fmt.Fprintf(&b, "goroutine %d [select%s]:\nmain.work()\n\t/src/main.go:1 +0x57\ncreated by main.main in goroutine %d\n\t/src/main.go:2 +0x57\n\n",
			n+i, label, parent)
	}
	return b.String(), paths
}

// To find the stacks of very many tasks takes no longer than to read the traceback,
// where the runtime shows labels and where it does not.
func TestStackOfManyTasks(t *testing.T) {
	for _, labels := range []bool{false, true} {
		all, paths := manyTraces(20_000, labels)
		const tries = 3
		for try := 1; ; try++ {
			start := time.Now()
			d := newDump(all)
			read := time.Since(start)
			d.find(paths)
			found := time.Since(start) - read
			t.Logf("labels %v: read in %v, found in %v", labels, read, found)
			if found < 5*read {
				break
			}
			if try == tries {
				t.Errorf("labels %v: the stacks of %d tasks took %v to find, and the traceback %v to read", labels, len(paths), found, read)
				break
			}
		}
	}
}

// What is found is the goroutine of the task, what it has started, and what has a
// label below its own; not those whose label only begins with the same digits.
func TestStackOfTasks(t *testing.T) {
	const all = `goroutine 1 [select]:
main.main()

goroutine 21 [select labels:{"shutdown": "7/21 job"}]:
main.task()
created by main.main in goroutine 1

goroutine 22 [select labels:{"shutdown": "7/21 job"}]:
main.child()
created by main.task in goroutine 21

goroutine 23 [select labels:{"shutdown": "7/21/5 job"}]:
main.below()
created by main.gone in goroutine 99

goroutine 24 [select labels:{"shutdown": "7/211 other"}]:
main.other()
created by main.main in goroutine 1

goroutine 25 [select]:
main.unlabelled()
created by main.child in goroutine 22`
	got := newDump(all).find([]string{"7/21", "7/98"})
	for name, want := range map[string]bool{"task": true, "child": true, "below": true, "unlabelled": true, "other": false, "main": false} {
		if has := bytes.Contains(got, []byte("main."+name+"()\n")); has != want {
			t.Errorf("has %s: %v, want %v", name, has, want)
		}
	}
}
