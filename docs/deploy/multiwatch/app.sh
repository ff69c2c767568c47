#!/bin/sh
# Two processes on one socket, in the foreground.
cd /srv/app || exit
exec spawn-fcgi -n -s /run/app.sock -M 0660 -U www-data -G www-data -- \
    /usr/bin/multiwatch --forks=2 --signal=QUIT -- \
    /usr/bin/twistd --nodaemon --pidfile= fastcgi --resource hello.Hello
