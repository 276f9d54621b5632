package fleet

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// usage returns an error before any host was contacted.
func usage(message, hint string) error {
	return &problem.Error{Class: problem.Usage, Message: message, Hint: hint}
}

// internal returns an error of this workstation.
func internal(message, hint string) error {
	return &problem.Error{Class: problem.Internal, Message: message, Hint: hint}
}

// interrupted returns the error of a procedure whose context has ended. Its cause is
// context.Canceled.
func interrupted(message string) error {
	return &problem.Error{Class: problem.Internal, Message: "interrupted: " + message, Err: context.Canceled}
}
