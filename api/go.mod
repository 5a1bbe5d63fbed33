module github.com/flux-reloader/reloader/api

go 1.26.0
