//! Drivers that tests write themselves: the methods of a gRPC service in a few words.

/// The methods of a service that the method `$serve` of the driver answers, and after a semicolon those that are not there.
/// Written as `async_trait` would expand them, because that macro does not look into this one.
#[macro_export]
macro_rules! methods {
    (
        $serve:ident;
        $($method:ident: $request:ty => $reply:ty),* $(,)?;
        $($absent:ident: $from:ty => $to:ty),* $(,)?
    ) => {
        $(
            fn $method<'a, 'b>(
                &'a self,
                request: tonic::Request<$request>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Result<tonic::Response<$reply>, tonic::Status>> + Send + 'b>>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(self.$serve(request))
            }
        )*
        $(
            fn $absent<'a, 'b>(
                &'a self,
                _: tonic::Request<$from>,
            ) -> std::pin::Pin<Box<dyn Future<Output = Result<tonic::Response<$to>, tonic::Status>> + Send + 'b>>
            where
                'a: 'b,
                Self: 'b,
            {
                Box::pin(async { Err(tonic::Status::unimplemented(stringify!($absent))) })
            }
        )*
    };
}
