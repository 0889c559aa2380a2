// Package mlog stands in for monis.app/mlog, which not every module proxy has. The driver logs a handful of lines through it.
package mlog

import (
	"context"
	"log"
)

// LogFormat is how lines are written; here always as text.
type LogFormat string

// The formats that the driver names.
const (
	FormatText LogFormat = "text"
	FormatJSON LogFormat = "json"
)

// Setup gives what is to be called at the end.
func Setup() func() { return func() {} }

// ValidateAndSetKlogLevelAndFormatGlobally takes any level and format.
func ValidateAndSetKlogLevelAndFormatGlobally[Level any](context.Context, Level, LogFormat) error {
	return nil
}

// Error writes a line.
func Error(message string, err error, _ ...any) { log.Println(message, err) }

// Fatal writes a line and ends the process.
func Fatal(err error) { log.Fatal(err) }
