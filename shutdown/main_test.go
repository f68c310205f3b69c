package shutdown_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if program := programs[os.Getenv("SHUTDOWN_TEST_PROGRAM")]; program != nil {
		program()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// programs are what tests run as processes of their own.
var programs = map[string]func(){}
