#!/bin/sh
exec twistd --nodaemon --pidfile= fastcgi --mount script-name --resource hello.Hello
