package pid1

import (
	"context"
	"errors"
	"os"
	"strings"
)

// RequireEnv returns a step for [App.Before] that fails unless all the named
// environment variables are set and not empty. An empty one counts as missing
// because that is what a Compose file or a pod template makes of a variable
// that its own environment lacks. The one error names all that are missing;
// values are neither logged nor part of the error.
func RequireEnv(names ...string) func(context.Context) error {
	return func(context.Context) error {
		var unset, empty []string
		for _, name := range names {
			switch value, ok := os.LookupEnv(name); {
			case !ok:
				unset = append(unset, name)
			case value == "":
				empty = append(empty, name)
			}
		}
		return missingEnv(unset, empty)
	}
}

func missingEnv(unset, empty []string) error {
	var is []string
	if len(unset) > 0 {
		is = append(is, "not set: "+strings.Join(unset, ", "))
	}
	if len(empty) > 0 {
		is = append(is, "empty: "+strings.Join(empty, ", "))
	}
	if is == nil {
		return nil
	}
	return errors.New("pid1: environment variables required but " + strings.Join(is, "; "))
}
