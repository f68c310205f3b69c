// SPDX-License-Identifier: MIT

package reaper_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A bareResult is what a PID 1 says that runs on another kernel.
type bareResult struct {
	Kernel string
	Failed []string // helpers
	stressResult
}

func init() {
	helpers["bare"] = func() int { return answer(bare()) }

	// As the /init of a machine: it mounts what helpers need, and switches
	// the machine off in the end.
	helpers["machine"] = func() int {
		os.Mkdir("/proc", 0o755)
		os.Mkdir("/dev", 0o755)
		unix.Mount("proc", "/proc", "proc", 0, "")
		unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, "")
		answer(bare())
		unix.Sync()
		unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		return 1
	}
}

// bare runs the helpers that need nothing but this binary and a /proc. Its
// arguments are those of stress, and the names of the helpers.
func bare() (result bareResult) {
	var name unix.Utsname
	unix.Uname(&name)
	result.Kernel = unix.ByteSliceToString(name.Release[:])
	for _, helper := range strings.FieldsFunc(os.Getenv("BARE_HELPERS"), func(r rune) bool { return r == ',' }) {
		helper = strings.ReplaceAll(helper, "_", " ")
		os.Args = []string{helper, "bare"}
		if helpers[helper]() != 0 {
			result.Failed = append(result.Failed, helper)
		}
	}
	os.Args = append([]string{"stress"}, strings.Split(os.Getenv("BARE_STRESS"), ",")...)
	result.stressResult = stressed()
	return result
}

// bareHelpers are all that do not need pidfds.
const bareHelpers = "died_before,terminate_spares,terminate"

// pidfdHelpers are those that do.
const pidfdHelpers = "exit,hidden,together,released,released_of_other_thread,find_process,high_descriptor,slow_callback"

// checkBare runs cmd, in which a helper prints a bareResult among other lines.
func checkBare(t *testing.T, cmd *exec.Cmd) (got bareResult) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	const mark = `{"Kernel"`
	found := false
	for lines.Scan() {
		// A console puts control sequences before it.
		if text := lines.Text(); strings.Contains(text, mark) {
			text = text[strings.Index(text, mark):]
			found = json.Unmarshal([]byte(text), &got) == nil
		}
	}
	if !found {
		t.Fatalf("no result: %v\n%s", err, out)
	}
	t.Logf("%+v", got)
	if len(got.Failed) > 0 {
		t.Errorf("failed: %v\n%s", got.Failed, out)
	}
	got.check(t)
	return got
}
