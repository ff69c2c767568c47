<?php
// Copyright (c) the twisted_fastcgi authors.
// See LICENSE for details.

// The smallest page, for PHP-FPM.
header("Content-Type: text/plain");
header("Content-Length: 5");
echo "hello";
