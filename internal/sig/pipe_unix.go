// SPDX-License-Identifier: MIT

//go:build unix

package sig

import (
	"os"
	"syscall"
)

// Pipe is SIGPIPE, nil on systems without it. A write to descriptor 1 or 2 whose
// reader is gone ends the process unless it asks for this signal (os/signal).
var Pipe os.Signal = syscall.SIGPIPE
