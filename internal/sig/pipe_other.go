// SPDX-License-Identifier: MIT

//go:build !unix

package sig

import "os"

// Pipe is SIGPIPE, nil on systems without it.
var Pipe os.Signal
